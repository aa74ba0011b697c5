// Batches: requests side by side, and an answer for each event.
async function onBatch(events, settings) {
  const responses = await Promise.all(
    events.map((event, at) =>
      fetch(`https://api.example.com/events/${at}`, { method: 'POST', body: JSON.stringify({ id: event.messageId, ...settings }) }),
    ),
  );
  if (settings.explode) throw new RetryError('all of them again');
  return Promise.all(
    responses.map(async (response, at) => {
      if (response.ok) return { status: 200 };
      const text = await response.text();
      return { status: response.status, errormessage: `${at}: ${text}` };
    }),
  );
}
