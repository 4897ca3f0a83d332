/** Where the owner answers: POST a launch request here, and get a launch bundle. */
export const launchSessionsPath = '/pre-launch/sessions';

/** Where the owner answers for one session: POST measurement evidence, and get a secret delivery. */
export function measurementPath(launchId: string): string {
  return `${launchSessionsPath}/${encodeURIComponent(launchId)}/measurement`;
}

/** Largest body of a request, in bytes: a full platform chain in base64 with room for the JSON around it. */
export const largestRequest = 32 * 1024;

/** Largest body of an answer, in bytes: a secret packet of 16 KiB in base64, or a long refusal. */
export const largestAnswer = 256 * 1024;
