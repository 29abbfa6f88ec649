"""backtesting.py and vectorbt on the prices of the bench beside: SMA 10/30, 0.1 % commission, one unit a trade.

Usage: backtest.py PRICES.f64 BARS_OF_BACKTESTING_PY BARS_OF_VECTORBT; prints one JSON object. A peer that is not installed is
null. Compilation (numba) is not timed: each runs once before.
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")
FAST, SLOW, COMMISSION, CASH = 10, 30, 0.001, 1e9


def timed(run):
    start = time.perf_counter()
    trades = run()
    return {"seconds": time.perf_counter() - start, "trades": int(trades)}


def backtesting_py(closes):
    from backtesting import Backtest, Strategy

    def sma(values, window):
        return pd.Series(values).rolling(window).mean()

    class Cross(Strategy):
        def init(self):
            self.fast = self.I(sma, self.data.Close, FAST)
            self.slow = self.I(sma, self.data.Close, SLOW)

        def next(self):
            if self.fast[-1] > self.slow[-1]:
                if not self.position:
                    self.buy(size=1)
            elif self.position:
                self.position.close()

    index = pd.date_range("2020-01-01", periods=len(closes), freq="min")
    frame = pd.DataFrame({"Open": closes, "High": closes, "Low": closes, "Close": closes, "Volume": 1.0}, index=index)
    test = Backtest(frame, Cross, cash=CASH, commission=COMMISSION, trade_on_close=True, finalize_trades=True)
    result = timed(lambda: 2 * len(test.run()["_trades"]))
    return {"bars": len(closes), **result}


def vectorbt(closes):
    import vectorbt as vbt

    series = pd.Series(closes, index=pd.date_range("2020-01-01", periods=len(closes), freq="min"))

    def run():
        fast, slow = vbt.MA.run(series, FAST), vbt.MA.run(series, SLOW)
        portfolio = vbt.Portfolio.from_signals(
            series, fast.ma_above(slow), fast.ma_below(slow), size=1.0, fees=COMMISSION, init_cash=CASH, freq="1min"
        )
        # As ours: return, Sharpe, drawdown, and the number of trades.
        portfolio.total_return(), portfolio.sharpe_ratio(), portfolio.max_drawdown()
        return portfolio.orders.count()

    run()
    return {"bars": len(closes), **timed(run)}


def main():
    closes = np.fromfile(sys.argv[1], dtype="<f8")
    result = {}
    for name, run, count in [("backtesting.py", backtesting_py, sys.argv[2]), ("vectorbt", vectorbt, sys.argv[3])]:
        try:
            result[name] = run(closes[: int(count)])
        except ImportError as missing:
            print(f"{name}: {missing}", file=sys.stderr)
            result[name] = None
    print(json.dumps(result))


if __name__ == "__main__":
    main()
