"""HTTP below the endpoints: connections and their limits, the request log, the body limit, the documentation page."""
