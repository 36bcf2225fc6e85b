"""Where simulated users live and which languages they understand."""

LANGUAGES = ("en", "es", "hi", "fr", "de", "ja", "pt", "ko")
LANGUAGE_SHARES = (0.40, 0.14, 0.12, 0.09, 0.08, 0.06, 0.06, 0.05)
COUNTRIES = ("US", "GB", "IN", "ES", "MX", "FR", "DE", "BR", "JP", "KR")
# By language: where most titles of it are made.
ORIGINS = (("US", "GB"), ("ES", "MX"), ("IN",), ("FR",), ("DE",), ("JP",), ("BR",), ("KR",))
# Main language and second one; -1: none.
PROFILES = (
    (0, -1), (0, 1), (1, -1), (1, 0), (2, -1), (2, 0), (3, -1), (3, 0), (4, 0), (5, 0), (6, 1), (7, 0),
)  # fmt: skip
# City, country, hours ahead of UTC, share of users, language profiles with their shares.
CITIES = (
    ("New York", "US", -4, 0.10, {0: 0.85, 1: 0.15}),
    ("Chicago", "US", -5, 0.07, {0: 0.95, 1: 0.05}),
    ("Los Angeles", "US", -7, 0.08, {0: 0.65, 1: 0.25, 3: 0.10}),
    ("Miami", "US", -4, 0.04, {0: 0.30, 1: 0.30, 3: 0.40}),
    ("London", "GB", 1, 0.08, {0: 1.0}),
    ("Manchester", "GB", 1, 0.05, {0: 1.0}),
    ("Mumbai", "IN", 5, 0.08, {4: 0.30, 5: 0.70}),
    ("Patna", "IN", 5, 0.05, {4: 0.85, 5: 0.15}),
    ("Madrid", "ES", 2, 0.05, {2: 0.60, 3: 0.40}),
    ("Mexico City", "MX", -6, 0.08, {2: 0.80, 3: 0.20}),
    ("Paris", "FR", 2, 0.06, {6: 0.50, 7: 0.50}),
    ("Lyon", "FR", 2, 0.03, {6: 0.80, 7: 0.20}),
    ("Berlin", "DE", 2, 0.05, {8: 1.0}),
    ("Hamburg", "DE", 2, 0.03, {8: 1.0}),
    ("São Paulo", "BR", -3, 0.05, {10: 1.0}),
    ("Tokyo", "JP", 9, 0.05, {9: 1.0}),
    ("Seoul", "KR", 9, 0.05, {11: 1.0}),
)
# What the service takes the users of a country to speak, indexing LANGUAGES.
COUNTRY_LANGUAGES = (0, 0, 2, 1, 1, 3, 4, 6, 5, 7)
