/* scan_cycle of firmware/metering/kernels.py in C, with a table for the converters: the yardstick
   of the speed bench. Prints nanoseconds per scan. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { X = 0, SQ_LOW = 6, SQ_HIGH = 12, VI_LOW = 18, VI_HIGH = 21, WI_LOW = 24, WI_HIGH = 27,
       SCANS_AT = 30, BUSY = 32, MIN = 40, MAX = 46, FIRST = 53, LAST = 54, CROSSINGS = 55,
       WORDS = 56 };

static void sum(int32_t *s, int low, int high, int32_t p) {
    s[low] += p & 0xffff;
    s[high] += p >> 16;
}

__attribute__((noinline)) int scan_cycle(const uint16_t *table, int period, int scans, int ref,
                                         int zero, int band, int late, int32_t *s, uint16_t *at) {
    int32_t first[3] = {0}, before_v[3] = {0}, before = 0, before_us = 0, began = 0, busy = 0;
    int32_t share = period / scans, rest = period - share * scans, due = 0, owed = 0;
    int armed = 0, crossings = 0;
    memset(s, 0, WORDS * sizeof *s);
    for (int c = 0; c < 6; c++) s[MIN + c] = 65535;
    for (int scan = 0; scan < scans; scan++) {
        int32_t now = due, x[6];
        busy += now - began;
        if (now - due > late) return -1;
        began = now;
        for (int c = 0; c < 6; c++) at[scan * 6 + c] = x[c] = table[scan * 6 + c];
        if (ref >= 0) {
            int32_t v = x[3 + ref] - zero;
            if (v < -band) armed = 1;
            else if (v >= 0 && armed) {
                int32_t k = before_us + (now - before_us) * -before / (v - before);
                if (!crossings) s[FIRST] = k;
                s[LAST] = k;
                crossings++;
                armed = 0;
            }
            before = v;
            before_us = now;
        }
        for (int c = 0; c < 6; c++) {
            if (x[c] < s[MIN + c]) s[MIN + c] = x[c];
            if (x[c] > s[MAX + c]) s[MAX + c] = x[c];
            s[X + c] += x[c];
            x[c] -= 32768;
            sum(s, SQ_LOW + c, SQ_HIGH + c, x[c] * x[c]);
        }
        for (int c = 0; c < 3; c++) {
            sum(s, VI_LOW + c, VI_HIGH + c, x[3 + c] * x[c]);
            sum(s, WI_LOW + c, WI_HIGH + c, before_v[c] * x[c]);
            if (!scan) first[c] = x[c];
            before_v[c] = x[3 + c];
        }
        due += share;
        owed += rest;
        if (owed >= scans) {
            owed -= scans;
            due++;
        }
    }
    for (int c = 0; c < 3; c++) sum(s, WI_LOW + c, WI_HIGH + c, before_v[c] * first[c]);
    s[SCANS_AT] = scans;
    s[BUSY] = busy;
    s[CROSSINGS] = crossings;
    return scans;
}

int main(void) {
    static uint16_t table[6 * SCANS], raw[6 * SCANS];
    static int32_t sums[WORDS];
    for (int n = 0; n < 6 * SCANS; n++) table[n] = 20000 + n * 7919 % 9000;
    double best = 1e9;
    for (int run = 0; run < 5; run++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        volatile int32_t keep = 0;
        for (int n = 0; n < ROUNDS; n++)
            keep += scan_cycle(table, 20000, SCANS, 0, 23000, 50, 1000, sums, raw) + sums[X];
        clock_gettime(CLOCK_MONOTONIC, &b);
        double ns = ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / ROUNDS / SCANS;
        if (ns < best) best = ns;
    }
    printf("%.1f\n", best);
    return 0;
}
