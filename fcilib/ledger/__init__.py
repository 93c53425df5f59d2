"""The paper's claims, the experiments that decide them, verdicts, and the audit of records."""
