"""What was asked for and what was seen, kept in a database. The only room that speaks SQL."""
