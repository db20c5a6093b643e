// Reads a stream to its end by the protocol's client, and prints each batch: ADDRESS LIVE COOKIE.
import { stream } from "@durable-streams/client";

const [url, live, cookie] = process.argv.slice(2);
let offset = "-1";
let isClosed = false;

while (!isClosed) {
  try {
    const response = await stream({
      url,
      offset,
      live,
      headers: { Cookie: cookie },
      warnOnHttp: false,
      backoffOptions: { initialDelay: 50, maxDelay: 500, multiplier: 1.5 },
    });
    response.subscribeJson((batch) => {
      if (batch.items.length) process.stdout.write(`${JSON.stringify(batch.items)}\n`);
      offset = batch.offset;
      isClosed ||= batch.streamClosed;
    });
    await response.closed;
    isClosed ||= response.streamClosed;
  } catch (error) {
    // The client leaves a connection that breaks to its caller, who goes on at the last offset.
    process.stderr.write(`${error}\n`);
    if (error.status >= 400 && error.status < 500) process.exit(1);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
