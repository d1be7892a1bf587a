"""Operations: facts of a cluster -> checks -> findings -> what a person reads (doctor, status)."""
