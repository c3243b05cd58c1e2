"""A trained model as files, and recommendations and explanations from them."""
