/** The daily run is short; `npm run test:full` takes its time. */
const full = process.env['VOUCHSAFE_FULL'] === '1';

export const sessions = full ? 2000 : 60;
export const manySessions = full ? 20_000 : 200;
export const kills = full ? 10 : 2;
export const timeout = full ? 3_600_000 : 120_000;
