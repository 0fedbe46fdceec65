"""What the cluster looks like, kept up to date: reflectors list and watch, stores hold, informers tell, and `Cache`
answers.
"""
