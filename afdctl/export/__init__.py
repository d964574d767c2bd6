"""What runs hold, as tables, figures, reports and files of other libraries."""
