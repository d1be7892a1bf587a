"""Operations: doctor, status, verify."""
