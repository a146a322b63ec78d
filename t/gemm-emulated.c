/* gemm-emulated.c - the AVX-512 and VNNI matrix kernels on a machine that has neither.
 *
 * This program holds the kernels compiled through SIMDe (t/emulate-avx512.h), those of VNNI beside
 * those of plain AVX-512.  Where SIMDe's headers are not installed the kernels in it are the
 * baseline's, and there is nothing to say.
 */
#include "kernels/cpu/gemm-tile.h"
#include "t/gemm-check.h"
#include "t/tap/tap.h"

extern const vw_gemm_kernels vw_gemm_kernels_emulated, vw_gemm_kernels_emulated_vnni;

int main(void)
{
    if (VL != 16)
        skip_all("SIMDe's headers (libsimde-dev) are not installed");
    check_kernels(&vw_gemm_kernels_emulated);
    check_blocks(&vw_gemm_kernels_emulated);
    check_kernels(&vw_gemm_kernels_emulated_vnni);
    check_blocks(&vw_gemm_kernels_emulated_vnni);
    return done_testing();
}
