"""Checks a receipt as anyone may: by jwcrypto, which shares no code with the gateway.

The arguments are the files of a JWKS and of a compact JWS. Prints the header and the payload, as one JSON list.
"""

import json
import sys

from jwcrypto import jwk, jws

keys = jwk.JWKSet.from_json(open(sys.argv[1]).read())
receipt = jws.JWS()
receipt.allowed_algs = ["EdDSA"]
receipt.deserialize(open(sys.argv[2]).read())
key = keys.get_key(receipt.jose_header["kid"])
assert key.thumbprint() == receipt.jose_header["kid"], "a key's id is its thumbprint"
receipt.verify(key)
print(json.dumps([receipt.jose_header, json.loads(receipt.payload)]))
