"""Prices answers of a provider as genai-prices reads them: a case a line in, two prices a line out.

A case is {"reader": [provider, flavor], "prices"?, "model", "answer", "rewritten"?}: the reader finds the usage in the
answer, and the price of the model of `prices`, or OpenAI's, is taken for it. The first price is the answer's, the second
that of the answer rewritten; `-` where genai-prices has no opinion.
"""

import json
import sys
import warnings
from datetime import datetime, timezone

from genai_prices import extract_usage
from genai_prices.data import providers

AT = datetime(2026, 11, 28, tzinfo=timezone.utc)
PROVIDERS = {provider.id: provider for provider in providers}


def price(case, answer):
    if answer is None:
        return "-"
    provider, flavor = case["reader"]
    try:
        # The model is not the reader's own: it is looked up apart.
        usage = extract_usage({**answer, "model": None}, provider_id=provider, api_flavor=flavor)
        pricing = PROVIDERS[case.get("prices", "openai")]
        model = pricing.find_model(case["model"])
        return f"{model.calc_price(usage.usage, pricing, genai_request_timestamp=AT).total_price:f}"
    except ValueError:
        return "-"


warnings.simplefilter("ignore")
for line in sys.stdin:
    case = json.loads(line)
    print(price(case, case["answer"]), price(case, case.get("rewritten")))
