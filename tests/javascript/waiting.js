// Timers, signals, the cache, and the order in which things happen.
const later = (ms, value) => new Promise((resolve) => setTimeout(resolve, ms, value));

async function onTrack() {
  const order = [];
  const ticks = [];
  setTimeout(() => order.push('timeout 0'), 0);
  setImmediate(() => order.push('immediate'));
  process.nextTick((what) => ticks.push(what), 'tick');
  queueMicrotask(() => order.push('microtask'));
  Promise.resolve().then(() => order.push('then'));
  order.push('now');
  await new Promise((resolve) => {
    const interval = setInterval(() => {
      if (ticks.push(ticks.length) > 3) resolve(clearInterval(interval));
    }, 5);
  });
  const cancelled = setTimeout(() => order.push('never'), 1);
  clearTimeout(cancelled);
  order.push(await Promise.race([later(40, 'slow'), later(5, 'fast')]));
  order.push(...(await Promise.all([later(10, 'a'), later(1, 'b')])));
  await fetch('https://api.example.com/order', { method: 'POST', body: JSON.stringify(order.filter((what) => what !== 'immediate' && what !== 'timeout 0')) });
  await fetch('https://api.example.com/ticks', { method: 'POST', body: JSON.stringify([ticks[0], ticks.length > 2, order.includes('immediate')]) });
}

async function onIdentify() {
  const controller = new AbortController();
  controller.abort();
  try {
    await fetch('https://api.example.com/aborted', { signal: controller.signal });
  } catch (error) {
    await fetch('https://api.example.com/', { method: 'POST', body: `${error.name} ${controller.signal.aborted}` });
  }
}

let made = 0;
async function onPage(event, settings) {
  const token = () => cache.load('token', 60000, async () => ({ token: `t${++made}` }));
  const [first, second] = await Promise.all([token(), token()]);
  const third = await token();
  cache.delete('token');
  const fourth = await token();
  await fetch('https://api.example.com/', { headers: { authorization: [first, second, third, fourth].map((t) => t.token).join() } });
}

async function onScreen() {
  await new Promise((resolve, reject) => setTimeout(() => reject(new ValidationError('late')), 2));
}

async function onGroup() {
  const outcomes = await Promise.allSettled([later(1, 'x'), Promise.reject(new Error('y'))]);
  const first = await Promise.any([Promise.reject(1), later(2, 'z')]);
  await fetch('https://api.example.com/', { method: 'POST', body: JSON.stringify([outcomes.map((one) => one.status), first]) });
}
