"""Talking to an API server: `Client` says what can be asked, `RestClient` asks it over a `Transport`, and
`ClusterClient` is the one of a real cluster.
"""
