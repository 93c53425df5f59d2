"""What a description is: frozen, strict, hashed; and how kinds of a thing are told apart."""
