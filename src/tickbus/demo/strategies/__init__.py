"""
The five strategies of `examples/`, so that an installed package has them too.

The modules here are links to the files there: what a newcomer reads is what the demo runs. A wheel or
source archive contains them as files.
"""
