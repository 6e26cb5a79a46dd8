"""What is publicly known of each AI model, as dated data."""
