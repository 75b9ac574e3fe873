"""Admin pages to watch and control the sending of SMS. Only the admin and its template tags import this package."""
