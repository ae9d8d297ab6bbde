"""Which leaf and which endpoint a request goes to."""
