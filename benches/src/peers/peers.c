// Intel ipsec-mb and OpenSSL over rows of bytes: every row is one CBC message under the same key and IV, in place.
#include <intel-ipsec-mb.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ipsec {
    IMB_MGR *manager;
    DECLARE_ALIGNED(uint32_t enc[4 * 15], 16);
    DECLARE_ALIGNED(uint32_t dec[4 * 15], 16);
};

struct ipsec *peer_ipsec_new(const uint8_t key[32]) {
    struct ipsec *peer = aligned_alloc(64, 1024);
    peer->manager = alloc_mb_mgr(0);
    init_mb_mgr_auto(peer->manager, NULL);
    IMB_AES_KEYEXP_256(peer->manager, key, peer->enc, peer->dec);
    return peer;
}

// The number of rows done: all of them, or the length is one that the library does not take.
size_t peer_ipsec_cbc(struct ipsec *peer, int encrypt, const uint8_t iv[16], uint8_t *rows, size_t stride, size_t len,
                      size_t count) {
    static IMB_JOB jobs[IMB_MAX_BURST_SIZE];
    size_t done = 0;
    while (done < count) {
        const size_t left = count - done;
        const uint32_t burst = left < IMB_MAX_BURST_SIZE ? (uint32_t) left : IMB_MAX_BURST_SIZE;
        for (uint32_t nth = 0; nth < burst; nth++) {
            IMB_JOB *job = &jobs[nth];
            job->src = rows + (done + nth) * stride;
            job->dst = rows + (done + nth) * stride;
            job->cipher_start_src_offset_in_bytes = 0;
            job->msg_len_to_cipher_in_bytes = len;
            job->iv = iv;
            job->iv_len_in_bytes = 16;
            job->enc_keys = peer->enc;
            job->dec_keys = peer->dec;
        }
        const uint32_t finished = IMB_SUBMIT_CIPHER_BURST(
            peer->manager, jobs, burst, IMB_CIPHER_CBC, encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT, IMB_KEY_256_BYTES);
        if (finished != burst) {
            return done + finished;
        }
        done += burst;
    }
    return done;
}

EVP_CIPHER_CTX *peer_openssl_new(const uint8_t key[32], int encrypt) {
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_CipherInit_ex(context, EVP_aes_256_cbc(), NULL, key, NULL, encrypt);
    EVP_CIPHER_CTX_set_padding(context, 0);
    return context;
}

size_t peer_openssl_cbc(EVP_CIPHER_CTX *context, const uint8_t iv[16], uint8_t *rows, size_t stride, size_t len,
                        size_t count) {
    for (size_t row = 0; row < count; row++) {
        int written = 0;
        if (EVP_CipherInit_ex(context, NULL, NULL, NULL, iv, -1) != 1 ||
            EVP_CipherUpdate(context, rows + row * stride, &written, rows + row * stride, (int) len) != 1 ||
            written != (int) len) {
            return row;
        }
    }
    return count;
}
