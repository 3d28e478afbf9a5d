"""The accountant's room: trial balance, vouchers, account statements, manual vouchers by two people, month close."""
