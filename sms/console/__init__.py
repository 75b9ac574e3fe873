"""Admin pages on which operators watch and control the sending of SMS. Only the admin and its template tags use it."""
