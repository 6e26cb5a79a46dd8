"""The provider's Batch API for images: files of requests that run within a day, at half the price."""
