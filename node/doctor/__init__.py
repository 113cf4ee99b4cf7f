"""Why this machine's tunnel does not do what it should: facts that the machine's tools tell, and rules over them.

``observe`` gathers what ``facts`` describes and changes nothing; ``rules`` are pure and name the likeliest cause first.
"""
