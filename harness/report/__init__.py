"""What a validation found, as a record, and its reports: one HTML page, SVG, JUnit XML, Allure results."""
