"""One reader per format: each turns the bytes of one place into documents or failures."""
