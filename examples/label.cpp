// Label photographs with a bundle, in C++: ONNX Runtime's C API, a JSON header, nothing of edgefw and no Python.
//
//     c++ -std=c++17 -O2 label.cpp -I"$ONNXRUNTIME_HOME/include" -L"$ONNXRUNTIME_HOME/lib" -lonnxruntime -o label
//     ./label BUNDLE_FOLDER PHOTO.ppm [PHOTO.ppm ...]
//
// Prints what `edgefw label` prints. ONNXRUNTIME_HOME is an unpacked release of ONNX Runtime; the JSON header is
// nlohmann/json (Debian, Ubuntu: apt-get install nlohmann-json3-dev). Photographs are binary PPM files, as a camera's
// frames are arrays of bytes. It takes the bundle's ONNX file for photographs, and does not check hashes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <onnxruntime_c_api.h>
#include <stdexcept>
#include <string>
#include <vector>

using Json = nlohmann::ordered_json;

struct Image {  // 8-bit RGB, row by row
    int width = 0, height = 0;
    std::vector<uint8_t> bytes;
    const uint8_t* at(int row, int column) const { return &bytes[3 * (size_t(row) * width + column)]; }
};

int header_number(std::istream& file) {  // a comment begins with # and ends with its line
    while ((file >> std::ws).peek() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    int value = 0;
    file >> value;
    return value;
}

Image read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string magic(2, ' ');
    file.read(magic.data(), 2);
    Image image;
    image.width = header_number(file), image.height = header_number(file);
    const int largest = header_number(file);
    file.get();
    if (!file || magic != "P6" || largest != 255 || image.width < 1 || image.height < 1)
        throw std::runtime_error(path + ": no binary 8-bit PPM file");
    image.bytes.resize(size_t(3) * image.width * image.height);
    if (!file.read(reinterpret_cast<char*>(image.bytes.data()), std::streamsize(image.bytes.size())))
        throw std::runtime_error(path + ": the file is cut");
    return image;
}

double weight(const std::string& filter, double x) {  // of a source pixel at distance x
    x = std::fabs(x);
    if (filter == "bilinear") return x < 1 ? 1 - x : 0;
    if (filter != "bicubic") throw std::runtime_error("this example does not know the filter " + filter);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

// Turns rows into `size` pixels and lays the picture on its side; twice is a resize. The filter widens when it shrinks,
// and every pass rounds to bytes, with weights of 22 bits: what Pillow does, and the network was trained with.
Image resize_rows(const Image& image, int size, const std::string& filter) {
    Image result;
    result.width = image.height, result.height = size;
    result.bytes.resize(size_t(3) * result.width * result.height);
    const double scale = double(image.width) / size, wide = std::max(scale, 1.0);
    const double reach = (filter == "bilinear" ? 1 : 2) * wide;
    for (int out = 0; out < size; ++out) {
        const double centre = (out + 0.5) * scale;
        const int first = std::max(0, int(centre - reach + 0.5)), last = std::min(image.width, int(centre + reach + 0.5));
        std::vector<double> weights;
        double total = 0;
        for (int in = first; in < last; ++in) total += weights.emplace_back(weight(filter, (in - centre + 0.5) / wide));
        std::vector<int64_t> parts;
        for (double value : weights) parts.push_back(std::llround(value / total * (1 << 22)));
        for (int row = 0; row < image.height; ++row)
            for (int channel = 0; channel < 3; ++channel) {
                int64_t sum = 1 << 21;
                for (int in = first; in < last; ++in) sum += parts[in - first] * image.at(row, in)[channel];
                result.bytes[3 * (size_t(out) * result.width + row) + channel] =
                    uint8_t(std::clamp<int64_t>(sum >> 22, 0, 255));
            }
    }
    return result;
}

Image turned(const Image& image) {
    Image result;
    result.width = image.height, result.height = image.width;
    for (int row = 0; row < result.height; ++row)
        for (int column = 0; column < result.width; ++column)
            result.bytes.insert(result.bytes.end(), image.at(column, row), image.at(column, row) + 3);
    return result;
}

Image resized(Image image, int width, int height, const std::string& filter) {
    image = width == image.width ? turned(image) : resize_rows(image, width, filter);
    return height == image.width ? turned(image) : resize_rows(image, height, filter);
}

Image cropped(const Image& image, int size) {
    if (size < 1 || size > std::min(image.width, image.height)) throw std::runtime_error("centre-crop: the image is too small");
    Image result;
    result.width = result.height = size;
    const int top = int(std::nearbyint((image.height - size) / 2.0));  // halves to even, as in Python
    const int left = int(std::nearbyint((image.width - size) / 2.0));
    for (int row = 0; row < size; ++row)
        result.bytes.insert(result.bytes.end(), image.at(top + row, left), image.at(top + row, left) + 3 * size_t(size));
    return result;
}

std::vector<float> prepared(Image image, const Json& steps) {  // the preprocessing contract, step by step
    float divisor = 1;
    std::vector<float> values;
    for (const Json& step : steps) {
        const std::string name = step.at("name");
        if (name == "resize" && step.value("antialias", true)) {
            const int size = step.at("size");
            const double longest = std::max(image.width, image.height), shortest = std::min(image.width, image.height);
            const int longer = step.value("fit", "stretch") == "shortest" ? int(size * longest / shortest) : size;
            const bool upright = image.width <= image.height;
            image = resized(image, upright ? size : longer, upright ? longer : size, step.at("filter"));
        } else if (name == "centre-crop") {
            image = cropped(image, step.at("size"));
        } else if (name == "scale") {
            divisor = step.at("divisor");
        } else if (name == "normalise") {
            for (int channel = 0; channel < 3; ++channel) {
                const float mean = step.at("mean").at(channel), deviation = step.at("std").at(channel);
                for (size_t at = size_t(channel); at < image.bytes.size(); at += 3)
                    values.push_back((image.bytes[at] / divisor - mean) / deviation);
            }
        } else {
            throw std::runtime_error("this example does not know the step " + step.dump());
        }
    }
    return values;
}

std::vector<uint8_t> from_base64(const std::string& text) {
    static const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::vector<uint8_t> bytes;
    uint32_t held = 0;
    int bits = 0;
    for (char letter : text.substr(0, text.find('='))) {
        held = held << 6 | uint32_t(letters.find(letter));
        if ((bits += 6) >= 8) bytes.push_back(uint8_t(held >> (bits -= 8)));
    }
    return bytes;
}

float number(const uint8_t* bytes, bool half) {  // little-endian float16 or float32
    if (!half) {
        const uint32_t word = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | uint32_t(bytes[3]) << 24;
        float value;
        std::memcpy(&value, &word, sizeof value);
        return value;
    }
    const int word = bytes[0] | bytes[1] << 8, power = word >> 10 & 31, fraction = word & 1023;
    const float size = power ? std::ldexp(float(fraction + 1024), power - 25) : std::ldexp(float(fraction), -24);
    return word & 0x8000 ? -size : size;
}

std::vector<float> unit(const float* values, size_t width) {
    double length = 0;
    for (size_t at = 0; at < width; ++at) length += double(values[at]) * values[at];
    std::vector<float> result(values, values + width);
    for (float& value : result) value = float(value / std::sqrt(length));
    return result;
}

class Vectors {  // the rows of labels and negatives, one after the other
public:
    explicit Vectors(const Json& pack)
        : width_(pack.at("width")), dtype_(pack.at("dtype")), bytes_(from_base64(pack.at("vectors"))) {}

    std::vector<float> next() {
        std::vector<float> row(width_);
        const size_t scales = (width_ + 63) / 64;  // int8 rows begin with a float16 scale for every 64 numbers
        const size_t bytes = dtype_ == "int8" ? 2 * scales + width_ : width_ * size();
        if (bytes_.size() - place_ < bytes) throw std::runtime_error("the label pack has fewer vectors than its labels need");
        for (size_t at = 0; at < width_; ++at) {
            if (dtype_ == "int8")
                row[at] = number(&bytes_[place_ + 2 * (at / 64)], true) * float(int8_t(bytes_[place_ + 2 * scales + at]));
            else
                row[at] = number(&bytes_[place_ + at * size()], dtype_ == "float16");
        }
        place_ += bytes;
        return unit(row.data(), width_);
    }

private:
    size_t size() const { return dtype_ == "float16" ? 2 : 4; }

    size_t width_, place_ = 0;
    std::string dtype_;
    std::vector<uint8_t> bytes_;
};

struct Scores {
    std::vector<double> probabilities;
    std::vector<bool> beaten;  // by a negative: not said
};

// The label pack: an embedding to what is said of each label, as docs/label-packs.md says it.
Scores scores(const float* embedding, const Json& pack) {
    const size_t width = pack.at("width");
    const Json& labels = pack.at("labels");
    const Json negatives = pack.value("negatives", Json::array());
    const std::vector<float> seen = unit(embedding, width);
    Vectors vectors(pack);
    std::vector<double> logits;
    for (const Json* entries : {&labels, &negatives})
        for (const Json& entry : *entries) {
            double nearest = -1;
            for (int count = entry.at("vectors"); count > 0; --count) {
                const std::vector<float> vector = vectors.next();
                double cosine = 0;
                for (size_t at = 0; at < width; ++at) cosine += double(seen[at]) * vector[at];
                nearest = std::max(nearest, cosine);
            }
            logits.push_back(double(pack.at("logit_scale")) * nearest / double(entry.at("temperature")) + entry.value("bias", 0.0));
        }
    Scores result;
    const double largest = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (double logit : logits) total += std::exp(logit - largest);
    for (size_t at = 0; at < labels.size(); ++at) {
        bool beaten = false;
        for (size_t other = 0; other < negatives.size(); ++other) {
            const Json& of = negatives[other].at("of");
            const bool rival = of.empty() || std::find(of.begin(), of.end(), labels[at].at("name")) != of.end();
            beaten = beaten || (rival && logits[labels.size() + other] > logits[at]);
        }
        result.probabilities.push_back(std::exp(logits[at] - largest) / total);
        result.beaten.push_back(beaten);
    }
    return result;
}

Json read_json(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error(path + ": there is no such file");
    return Json::parse(file);
}

struct Chosen {
    std::string file, input;
    std::vector<int64_t> shape;
    Json steps;
};

Chosen chosen(const Json& manifest) {  // the bundle's default file for photographs, else its first
    for (const auto& [role, sensor] : manifest.at("modalities").items()) {
        if (sensor.at("technique") != "rgb") continue;
        Chosen found;
        for (const Json& entry : manifest.at("artefacts")) {
            const auto& roles = entry.at("modalities");
            const bool fits = std::find(roles.begin(), roles.end(), role) != roles.end() && entry.at("inputs").size() == 1;
            if (entry.at("backend") != "onnxruntime" || !fits) continue;
            if (!found.file.empty() && entry.at("name") != manifest.at("default")) continue;
            found = {entry.at("file"), entry.at("inputs").begin().key(), entry.at("inputs").begin().value(),
                     sensor.at("preprocessing").at("steps")};
            found.shape.insert(found.shape.begin(), 1);
        }
        if (!found.file.empty()) return found;
    }
    throw std::runtime_error("the bundle has no ONNX file for photographs");
}

class Model {  // one ONNX file on the CPU, through the C API
public:
    Model(const std::string& file, std::string input, std::vector<int64_t> shape) : input_(std::move(input)), shape_(std::move(shape)) {
        if (!ort_) throw std::runtime_error("the library of ONNX Runtime is older than the header");
        check(ort_->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "label", &environment_));
        check(ort_->CreateSessionOptions(&options_));
        // exact int8 sums on x86 without VNNI
        check(ort_->AddSessionConfigEntry(options_, "session.x64quantprecision", "1"));
        check(ort_->CreateSession(environment_, file.c_str(), options_, &session_));
        check(ort_->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory_));
        OrtAllocator* allocator = nullptr;
        check(ort_->GetAllocatorWithDefaultOptions(&allocator));
        check(ort_->SessionGetOutputName(session_, 0, allocator, &output_));
    }

    std::vector<float> run(std::vector<float>& pixels) const {  // the embedding of one image
        const char* input = input_.c_str();
        OrtValue *tensor = nullptr, *result = nullptr;
        check(ort_->CreateTensorWithDataAsOrtValue(memory_, pixels.data(), pixels.size() * sizeof(float), shape_.data(),
                                                   shape_.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &tensor));
        check(ort_->Run(session_, nullptr, &input, &tensor, 1, &output_, 1, &result));
        OrtTensorTypeAndShapeInfo* info = nullptr;
        ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        size_t width = 0;
        float* values = nullptr;
        check(ort_->GetTensorTypeAndShape(result, &info));
        check(ort_->GetTensorElementType(info, &type));
        check(ort_->GetTensorShapeElementCount(info, &width));
        ort_->ReleaseTensorTypeAndShapeInfo(info);
        if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) throw std::runtime_error("the file's answer is no array of floats");
        check(ort_->GetTensorMutableData(result, reinterpret_cast<void**>(&values)));
        const std::vector<float> embedding(values, values + width);
        ort_->ReleaseValue(result);
        ort_->ReleaseValue(tensor);
        return embedding;
    }

private:
    void check(OrtStatus* status) const {
        if (status) throw std::runtime_error(ort_->GetErrorMessage(status));
    }

    const OrtApi* ort_ = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    std::string input_;
    std::vector<int64_t> shape_;
    OrtEnv* environment_ = nullptr;
    OrtSessionOptions* options_ = nullptr;
    OrtSession* session_ = nullptr;
    OrtMemoryInfo* memory_ = nullptr;
    char* output_ = nullptr;
};

int main(int count, char** words) try {
    if (count < 3) throw std::runtime_error("usage: label BUNDLE_FOLDER PHOTO.ppm [PHOTO.ppm ...]");
    const std::string folder = std::string(words[1]) + "/";
    const Json manifest = read_json(folder + "manifest.json");
    if (manifest.at("labels").is_null()) throw std::runtime_error(std::string(words[1]) + ": the bundle has no label pack");
    const Json pack = read_json(folder + std::string(manifest.at("labels")));
    if (pack.at("encoder") != manifest.at("encoder"))
        throw std::runtime_error(std::string(words[1]) + ": the label pack was made for another encoder");
    const Chosen entry = chosen(manifest);
    const Model model(folder + entry.file, entry.input, entry.shape);  // one for the life of the program
    for (int number = 2; number < count; ++number) {
        std::vector<float> pixels = prepared(read_ppm(words[number]), entry.steps);
        const std::vector<float> embedding = model.run(pixels);
        if (embedding.size() != size_t(pack.at("width")))
            throw std::runtime_error(entry.file + ": gives embeddings of " + std::to_string(embedding.size()) +
                                     " numbers, the label pack has " + pack.at("width").dump());
        const Scores said_of = scores(embedding.data(), pack);
        const std::vector<double>& row = said_of.probabilities;
        const size_t best = size_t(std::max_element(row.begin(), row.end()) - row.begin());
        const Json& label = pack.at("labels")[best];
        const bool said = row[best] >= double(label.at("threshold")) && !said_of.beaten[best];
        std::printf("%s\t%s%s\t%.3f\n", words[number], said ? "" : "unknown: ", std::string(label.at("name")).c_str(), row[best]);
    }
} catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 2;
}
