// Sends mixed events by the stock client, unmodified: node send.mjs HOST WRITE_KEY COUNT
import { createRequire } from 'node:module'
import path from 'node:path'

// The client is installed outside the source tree.
const require = createRequire(path.join(process.env.TIDEGATE_CLIENTS, 'node', 'index.js'))
const { Analytics } = require('@segment/analytics-node')

const [host, writeKey, count] = process.argv.slice(2)
const analytics = new Analytics({ host, writeKey, flushAt: 15, flushInterval: 200 })
analytics.on('error', (error) => {
  console.error(error)
  process.exitCode = 1
})

const userId = (n) => `node-user-${n}`
const calls = [
  (n) => analytics.track({ userId: userId(n), event: 'Song Played', properties: { n, title: 'Ünïcode ✓' } }),
  (n) => analytics.identify({ userId: userId(n), traits: { n, email: `u${n}@example.com` } }),
  (n) => analytics.page({ anonymousId: `anon-${n}`, name: 'Home', properties: { n } }),
  (n) => analytics.screen({ userId: userId(n), name: 'Player', properties: { n } }),
  (n) => analytics.group({ userId: userId(n), groupId: `group-${n}`, traits: { n } }),
  (n) => analytics.alias({ userId: userId(n), previousId: `before-${n}` }),
]
for (let n = 0; n < Number(count); n++) calls[n % calls.length](n)
await analytics.closeAndFlush({ timeout: 60_000 })
