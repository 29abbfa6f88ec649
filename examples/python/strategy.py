#!/usr/bin/env python3
"""A strategy in Python: reads the market, asks for one order, and follows what becomes of it.

A strategy is an ordinary client of the bus. It may ask for orders (`orders.intent.<order>`) and nothing else: whether an
order may be sent is for `risk` to say (`risk.verdict.<order>`), and what the exchange made of it for `executor`
(`orders.event.<order>`). The rights are those of the broker's user `strategy`, whose key `spark up` keeps in its data
folder under `keys/strategy.nk`.
"""

import argparse
import asyncio
import base64
import hashlib
import os
import sys
import time
from decimal import Decimal, InvalidOperation

try:
    import msgpack
    import nats
    from nats.errors import Error as NatsError
    from nats.errors import TimeoutError as NatsTimeout
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
    from nats.js.errors import APIError, NotFoundError
except ImportError as missing:
    sys.exit(f"{missing}; install what is needed with: pip install -r {os.path.dirname(os.path.abspath(__file__))}/requirements.txt")

USER = "strategy"
# The broker lets this user read under this consumer name (nats/permissions.toml), so one example runs at a time.
CONSUMER = "strategy-example"
FINAL = {"filled", "settled", "cancelled", "rejected", "expired"}
QUOTE_AGE_MAX_S = 5.0
WRONG_LAST_SEQUENCE = 10071
EXIT_REFUSED, EXIT_UNAVAILABLE = 1, 69


class Failure(Exception):
    """What went wrong, for a person; ends the program with exit code 69."""


def order_id(strategy: str, key: str) -> str:
    """Names an order for ever: the same strategy and key give the same id on any machine, so asking twice is asking once.

    The first 26 characters of the lower-case base32 of SHA-256 over both texts, each with its length in bytes before it.
    """
    parts = (text.encode() for text in (strategy, key))
    joined = b",".join(str(len(part)).encode() + b":" + part for part in parts)
    return base64.b32encode(hashlib.sha256(joined).digest()).decode().lower()[:26]


def last_of(column: dict) -> Decimal:
    """The newest value of a column of exact decimals: `values[i]` times ten to the power of minus `scale`."""
    return Decimal(column["values"][-1]).scaleb(-column["scale"])


async def connect(url: str, seed: str, complaints: list):
    """Logs in with the key file. What the broker complains about later (say, a right that is missing) is collected."""

    async def complain(error):
        complaints.append(str(error))

    try:
        # Replies come to subjects of one's own; the broker lets nobody else listen there.
        login = nats.connect(
            url, name=USER, nkeys_seed=seed, inbox_prefix=f"_INBOX_{USER}", connect_timeout=3, error_cb=complain
        )
        return await asyncio.wait_for(login, timeout=10)
    except (NatsError, OSError, asyncio.TimeoutError, ValueError) as error:
        why = complaints[-1] if complaints else repr(error)
        raise Failure(f"no login at {url} with the key in {seed} ({why}); is `spark up` running, and is NATS_URL its address?")


async def reader(js, stream: str, subjects: list, policy: DeliverPolicy):
    """Reads subjects of a stream in order. A consumer of an earlier run goes first: where it begins cannot be changed."""
    try:
        await js.delete_consumer(stream, CONSUMER)
    except NotFoundError:
        pass
    config = ConsumerConfig(
        name=CONSUMER,
        filter_subjects=subjects,
        deliver_policy=policy,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=60,
        mem_storage=True,
        num_replicas=1,
    )
    await js.add_consumer(stream, config)
    return await js.pull_subscribe_bind(CONSUMER, stream)


async def messages(subscription, deadline: float):
    """Decoded messages until the deadline (by the monotonic clock), each with its kind."""
    while (left := deadline - time.monotonic()) > 0:
        try:
            batch = await subscription.fetch(16, timeout=min(left, 5.0))
        except NatsTimeout:
            continue
        for message in batch:
            yield message.headers.get("Spark-Kind", ""), msgpack.unpackb(message.data)


async def fresh_quote(js, venue: str, symbol: str, deadline: float):
    """The best bid and ask of a symbol, not older than a few seconds."""
    subject = f"market.quotes.{venue}.{symbol}"
    subscription = await reader(js, "FEED", [subject], DeliverPolicy.LAST_PER_SUBJECT)
    async for kind, quotes in messages(subscription, deadline):
        if kind == "quote_batch.v1" and time.time() - quotes["received_at"][-1] / 1e9 <= QUOTE_AGE_MAX_S:
            return last_of(quotes["bid_price"]), last_of(quotes["ask_price"])
    raise Failure(f"no fresh quote on {subject}; `spark tail {subject}` shows whether there are any")


async def ask(js, intent: dict, complaints: list):
    """Stores the intent, if there is none under its id yet. That condition is what makes an order happen once."""
    subject = f"orders.intent.{intent['order']}"
    headers = {
        "Spark-Kind": "order_intent.v1",
        "Nats-Msg-Id": subject,
        "Nats-Expected-Last-Subject-Sequence": "0",
    }
    try:
        stored = await js.publish(subject, msgpack.packb(intent), headers=headers)
        print(f"intent    {intent['order']} stored as LEDGER:{stored.seq}", flush=True)
    except APIError as error:
        if error.err_code != WRONG_LAST_SEQUENCE:
            raise
        print(f"intent    {intent['order']} is there already: the key was used before; following that order", flush=True)
    except NatsTimeout:
        raise Failure(f"the broker did not take {subject}: {complaints[-1] if complaints else 'no answer'}")


async def follow(subscription, deadline: float) -> int:
    """Prints verdict and events of the order until it is final."""
    seen = "the intent alone; is `risk` running?"
    async for kind, message in messages(subscription, deadline):
        if kind == "verdict.v1":
            seen = "the verdict; is `executor` running?"
            verdict = "approved" if message["approved"] else f"refused by {message['guard']}"
            print(f"verdict   {verdict}: {message['reason']}", flush=True)
            if not message["approved"]:
                return EXIT_REFUSED
        elif kind == "order_event.v1":
            for step in message["steps"]:
                fill = step["fill"]
                what = f" {fill['quantity']} at {fill['price']}, fee {fill['fee']} {fill['fee_asset']}" if fill else ""
                why = f" ({step['reason']})" if step["reason"] else ""
                print(f"order     {step['state']}{what}{why}", flush=True)
                seen = f"the state {step['state']}"
            if message["steps"][-1]["state"] in FINAL:
                print(f"done      {message['filled']} filled for {message['filled_quote']} in quote currency", flush=True)
                return 0
    raise Failure(f"the order did not come to an end in time; seen so far: {seen}")


async def run(arguments) -> int:
    venue, symbol = arguments.symbol
    deadline = time.monotonic() + arguments.timeout
    complaints: list = []
    client = await connect(arguments.url, arguments.seed, complaints)
    try:
        js = client.jetstream()
        bid, ask_price = await fresh_quote(js, venue, symbol, deadline)
        print(f"quote     {venue} {symbol}: bid {bid}, ask {ask_price}", flush=True)
        # A strategy decides here. This one wants what the command line says.
        order = order_id(arguments.strategy, arguments.key)
        intent = {
            "order": order,
            "key": arguments.key,
            "strategy": arguments.strategy,
            "actor": "strategy.py",
            "exchange": venue,
            "symbol": symbol,
            "side": arguments.side,
            "order_type": "market",
            "time_in_force": "ioc",
            "quantity": str(arguments.quantity),
            "limit_price": None,
            "requested_at": time.time_ns(),
            "reason": f"bid {bid}, ask {ask_price}",
        }
        # From the beginning: whatever happens to this order, before or after the reader is there, is read.
        subjects = [f"risk.verdict.{order}", f"orders.event.{order}"]
        subscription = await reader(js, "LEDGER", subjects, DeliverPolicy.ALL)
        await ask(js, intent, complaints)
        return await follow(subscription, deadline)
    except (NatsError, APIError) as error:
        raise Failure(f"{error!r}{'; the broker says: ' + complaints[-1] if complaints else ''}")
    finally:
        await client.close()


def symbol_of(text: str):
    venue, dot, symbol = text.partition(".")
    if not dot or not venue or not symbol.isalnum() or not symbol.isupper():
        raise argparse.ArgumentTypeError(f"{text!r} is not <venue>.<symbol>, e.g. binance.BTCUSDT")
    return venue, symbol


def quantity_of(text: str):
    try:
        quantity = Decimal(text)
    except InvalidOperation:
        quantity = Decimal(0)
    if not quantity.is_finite() or quantity <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a quantity above 0, e.g. 0.001")
    return quantity


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog="Exit codes: 0 the order came to an end, 1 it was refused, 2 wrong command line, 69 something is not there.",
    )
    add = parser.add_argument
    add("--url", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), help="the broker (or NATS_URL)")
    add("--seed", default=os.environ.get("SPARK_NKEY_SEED_FILE"), help="file with the key of the user `strategy` (or SPARK_NKEY_SEED_FILE)")
    add("--symbol", type=symbol_of, default="binance.BTCUSDT", help="<venue>.<symbol> (%(default)s)")
    add("--side", choices=["buy", "sell"], default="buy", help="(%(default)s)")
    add("--quantity", type=quantity_of, default="0.001", help="in base currency (%(default)s)")
    add("--strategy", default="example", help="the strategy's name (%(default)s)")
    add("--key", default=f"{time.time_ns()}", help="idempotency key: the same key is the same order (the time)")
    add("--timeout", type=float, default=30.0, help="seconds for everything (%(default)s)")
    arguments = parser.parse_args()
    if not arguments.seed:
        parser.error("--seed: which key? `spark up` keeps it as .spark/keys/strategy.nk")
    if not os.path.isfile(arguments.seed):
        parser.error(f"--seed: {arguments.seed} is not there; `spark up` keeps it as keys/strategy.nk in its data folder")
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(run(parse())))
    except Failure as failure:
        print(f"strategy.py: {failure}", file=sys.stderr)
        sys.exit(EXIT_UNAVAILABLE)
    except KeyboardInterrupt:
        sys.exit(130)
