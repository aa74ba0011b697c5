"""Sends mixed events by the stock client, unmodified: send.py HOST WRITE_KEY COUNT plain|gzip"""

import sys

import segment.analytics as analytics

host, write_key, count, encoding = sys.argv[1:]
failures = []

analytics.host = host
analytics.write_key = write_key
analytics.gzip = encoding == "gzip"
analytics.max_queue_size = int(count) + 1
analytics.on_error = lambda error, items: failures.append(error)

for n in range(int(count)):
    user = f"python-user-{n}"
    call = n % 6
    if call == 0:
        analytics.track(user, "Song Played", {"n": n, "title": "Ünïcode ✓"})
    elif call == 1:
        analytics.identify(user, {"n": n, "email": f"u{n}@example.com"})
    elif call == 2:
        analytics.page(user, "Docs", "Home", {"n": n})
    elif call == 3:
        analytics.screen(user, "App", "Player", {"n": n})
    elif call == 4:
        analytics.group(user, f"group-{n}", {"n": n})
    else:
        analytics.alias(f"before-{n}", user)
analytics.flush()
analytics.shutdown()

if failures:
    sys.exit(f"{len(failures)} batches failed, the first with {failures[0]}")
