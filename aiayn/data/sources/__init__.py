"""Where text comes from: files, the Hub, the phrasebook."""
