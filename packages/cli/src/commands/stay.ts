/** Waits until the user asks to stop, then ends what was started. */
export async function untilStopped(stop: AbortSignal, end: () => Promise<void>): Promise<void> {
  if (!stop.aborted) await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }));
  await end();
}
