"""The report of a store: leaderboard, studies, scorecard, as page, Markdown and tables."""
