"""What the data is: tables, features, labels and what is expected of them, in plain Python."""
