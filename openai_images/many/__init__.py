"""Many concurrent calls: their requests, the scheduler, and the iterator of their outcomes."""
