"""Interactions: read, checked, split and drawn from, with what else is known of users and items."""
