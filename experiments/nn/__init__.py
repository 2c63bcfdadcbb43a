"""Operations that networks share, with an explicit leading pack axis."""
