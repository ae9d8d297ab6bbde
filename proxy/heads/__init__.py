"""What is changed in heads on their way, and answers of our own."""
