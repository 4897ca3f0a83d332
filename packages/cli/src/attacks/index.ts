export type { Attack, AttackMode, Outcome, Refuser } from './attack.js';
export { attacks } from './catalogue.js';
export { attacksPage, modeNames, refuserInWords } from './page.js';
export { type RunAttacksOptions, runAttacks, type TriedAttack } from './run.js';
