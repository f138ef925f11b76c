"""A simulated survey with a known truth. No driver but `makeSurvey` and the demo may import it."""
