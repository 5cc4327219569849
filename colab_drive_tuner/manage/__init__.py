"""Operations on whole searches: list, remove, rename, copy, move, and restore a kept history."""
