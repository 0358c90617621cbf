"""Memory: frames and who has them, address spaces and what is in them."""
