"""What is said to DMark and what is heard: knows no database."""
