/**
 * States of a guest in the firmware (SEV API 0.24, chapter 6). KVM's document prints RECEIVING before SENDING; these are
 * the firmware's numbers.
 */
export const guestStates = {
  UNINIT: 0,
  LUPDATE: 1,
  LSECRET: 2,
  RUNNING: 3,
  SUPDATE: 4,
  RUPDATE: 5,
  SENT: 6,
} as const;

export type GuestState = keyof typeof guestStates;

/** Names that QMP's query-sev gives to the states; QEMU has none for a guest that was sent. */
export const qmpGuestStates = {
  UNINIT: 'uninit',
  LUPDATE: 'launch-update',
  LSECRET: 'launch-secret',
  RUNNING: 'running',
  SUPDATE: 'send-update',
  RUPDATE: 'receive-update',
} as const;

/** Name of a state's number; undefined for numbers that the API does not have. */
export function guestStateName(state: number): GuestState | undefined {
  return (Object.keys(guestStates) as GuestState[]).find((name) => guestStates[name] === state);
}
