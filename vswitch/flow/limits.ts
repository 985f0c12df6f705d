// Everything in the flow tables has a maximum; reaching it is an ordinary error or a counted drop.

/** Tables 0 to OFPTT_MAX. */
export const TABLES = 255;
/** Flows in one bridge. */
export const FLOWS_MAX = 1_000_000;
export const GROUPS_MAX = 65_536;
export const BUCKETS_MAX = 1024;
export const METERS_MAX = 65_536;
export const BANDS_MAX = 16;
/** Actions in one list. */
export const ACTIONS_MAX = 4096;
/** Resubmits within resubmits, and groups within groups. */
export const NESTING_MAX = 32;
/** Watched groups that are looked at to choose a bucket: groups may watch each other in a circle. */
export const LIVENESS_STEPS_MAX = 1024;
/** Flows that one packet may teach without seeing them. */
export const LESSONS_MAX = 16;
/** Table lookups and buckets that one packet may cause: ends resubmit loops and groups that fan out. */
export const STEPS_MAX = 4096;
/** Copies of one packet waiting for recirculation. */
export const RECIRCULATIONS_MAX = 64;
/** Entries of the path cache: a power of two. */
export const PATH_CACHE_ENTRIES = 8192;
/** For how many look-ups it rests at most, where nothing is found in it: times its entries. */
export const PATH_RESTS_MAX = 8;
/** Flows on one cached path; longer paths are looked up anew. */
export const PATH_LENGTH_MAX = 32;
/** Actions within actions: clone within clone. */
export const NESTED_ACTIONS_MAX = 4;
/** Lists of actions that a paused packet may go on with. */
export const FRAMES_MAX = 64;
/** Values on the stack of push and pop. */
export const STACK_MAX = 64;
/** Keys in the verdict cache, at first and at most: powers of two, and one a power of four times the other. */
export const VERDICT_KEYS_FIRST = 1024;
export const VERDICT_KEYS_MAX = 262_144;
/** Keys in the masked cache, at first and at most, and what they may be masked by. Every mask is looked through: beyond
 *  the first number of masks bits are rounded up to bytes, beyond the second to words, so that few new ones come. */
export const MASKED_KEYS_FIRST = 512;
export const MASKED_KEYS_MAX = 524_288;
export const MASKS_EXACT_MAX = 16;
export const MASKS_BYTES_MAX = 24;
export const MASKS_MAX = 32;
/** Of the frames that are known only there, one of so many goes into the exact cache. */
export const MASKED_INSERTION = 8;
/** Bursts for which a front match that serves few frames of its port rests at most. */
export const FRONT_RESTS_MAX = 255;
/** What is known of packets behind a ct(): at first and at most, as the keys. */
export const CT_STAGES_FIRST = 1024;
export const CT_STAGES_MAX = 262_144;
/** How often a packet may go on in a table by what is known; beyond that it goes through them. */
export const CT_STAGES_DEPTH_MAX = 8;
/** Rules for packets of known connections: a power of two; the oldest gives way. */
export const CT_RULES_MAX = 1024;
/** Values that subtables were asked for, twice of what is remembered: at first and at most. */
export const ASKED_VALUES_FIRST = 1024;
export const ASKED_VALUES_MAX = 1_048_576;
/** Look-ups for which a subtable is asked its whole mask after a flow that it had been said not to have: at first and at
 *  most. */
export const ABSENCE_RESTS_FIRST = 256;
export const ABSENCE_RESTS_MAX = 65_536;
/** Different verdicts at a time; one more and all are found anew. */
export const VERDICTS_MAX = 65_536;
/** Of them, those that differ from others by nothing but what they follow from: where frames of many come mixed, each is
 *  dealt with by itself. */
export const VERDICT_TWINS_MAX = 256;
/** Words of a verdict: packets to which more happens are taken through the tables. */
export const VERDICT_WORDS_MAX = 256;
