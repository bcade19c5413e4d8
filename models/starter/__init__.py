"""The small model that ships with the project, and how it was made."""
