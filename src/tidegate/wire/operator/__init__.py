"""The operator API, one module per noun (SPEC section 12 and 13)."""
