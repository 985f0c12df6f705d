// Sizes of the connection table.

/** Connections in the table: a power of two. */
export const CONNECTIONS_MAX = 65_536;
