"""On the power of foundation models (Yuan 2023), made executable for finite categories; and a practical diagnosis."""
